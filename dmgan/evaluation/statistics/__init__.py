"""Statistics of features: distances, folds, intervals, paired tests."""
