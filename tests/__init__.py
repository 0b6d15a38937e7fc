import gc

# Importing PyTorch and Lightning creates half a million objects that are never freed, and searching them for garbage
# takes time. tests/conftest.py enables the garbage collector again.
gc.disable()
