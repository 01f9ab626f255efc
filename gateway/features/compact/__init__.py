"""The view `compact`: chunks in which neighbouring deltas of models' answers are joined."""
