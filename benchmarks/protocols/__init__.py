"""Protocols: what is measured of networks with given parameters, one file each; `registry` lists them."""
