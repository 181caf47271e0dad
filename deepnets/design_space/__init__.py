"""The design space of DeepNets-1M: genotypes, architectures, and tables of many architectures. No torch."""
