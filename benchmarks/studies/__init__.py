"""Studies: questions about a GHN whose answers are tables and pictures; `registry` lists them."""
