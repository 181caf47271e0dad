"""Building blocks of the studies: graph sets, embeddings, predicted parameters, regressions, figures."""
