"""Statistics of splits (Table 1) and figures of splits and of single graphs."""
