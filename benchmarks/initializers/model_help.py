"""Help text of --model. This module imports nothing, so that --help is quick."""

MODEL_HELP = """\
randinit         PyTorch's own random initialization
he               normal weights of variance 2 / fan_in (He et al., 2015)
orth             orthogonal weights (Saxe et al., 2014)
fixup            residual networks without batch norm (Zhang et al., 2019)
gradinit         learnt factors of parameters, 390 steps; slow on CPUs (Zhu et al., 2021)
metainit         learnt norms of weights, 500 steps; slow on CPUs (Dauphin and Schoenholz, 2019)
nio              learnt factors with which gradients of images agree, 100 steps (Yang et al., 2022)
gradinit.N       the same with N steps, to save time; metainit.N and nio.N likewise
pretrained:PATH  trained weights of torchvision: a file, or a folder with NAME.pth or NAME.safetensors for each network
trained:RUN      the networks that a run has saved (--save); also --start-from RUN
ghn3_t, ...      a GHN, that is, predicted parameters: shipped (ghn3_t, ghn2, mlp, for digits) or converted weights
FOLDER           a GHN that you have trained, e.g. runs/my_ghn/best
NAME_orth        a GHN whose predicted weights are made orthogonal (GHN-orth, Knyazev, 2022), e.g. ghn3_t_orth
"""
"""Initializers by the name that --model takes, one a line."""
