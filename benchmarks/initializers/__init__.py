"""Initializers: methods that set a network's parameters before it is evaluated or trained; `registry` lists them."""
