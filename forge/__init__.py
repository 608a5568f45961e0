"""Forge: configs for language-model training, composed into one graph that can be seen, explained, checked and trusted.

configs/*.yaml ──> compose ──> graph ──┬──> render ──> tree | Python | SVG | HTML
                                       └──> build ──> train <──> checkpoint ──> serve
             cli, shell ──> all of the above      launch ──> train      control <──> train, serve
"""

__version__ = "0.1.0"
