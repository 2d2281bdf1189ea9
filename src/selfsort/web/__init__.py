"""The sorting page: look at a run's classes in a browser, name them and correct them."""
