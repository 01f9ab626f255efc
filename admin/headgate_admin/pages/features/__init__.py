"""The pages of features, each with its template beside it: their kinds name them."""
