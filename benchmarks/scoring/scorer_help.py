"""Scorers by the name that --model takes, as help text; it imports nothing, so that --help is quick."""

SCORER_HELP = """\
gradnorm, snip, plain, grasp, fisher, jacob_cov, synflow, synflow_bn, nwot, params, flops,
zen, zico, l2_norm, epe_nas, swap    zero-cost proxies
random           random numbers, which rank at chance level
FILE.csv         scores of your own, with columns group, index and score
"""
"""Help text of --model for the nas protocol, which accepts scorers besides initializers."""
