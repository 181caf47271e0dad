"""The parts of a GHN, one idea each: encodings, graph networks, decoders."""
