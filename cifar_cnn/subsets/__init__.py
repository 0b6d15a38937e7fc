"""Which images a run trains and validates on, with which labels: splits, folds, subsets, label noise, class weights."""
