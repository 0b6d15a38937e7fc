import gc

# Half a million objects are made when PyTorch and Lightning are imported, and all of them stay. tests/conftest.py
# collects garbage again.
gc.disable()
