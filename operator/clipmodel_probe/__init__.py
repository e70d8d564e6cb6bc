"""The startup probe of Triton pods: asks the Triton beside it whether it embeds as it was proven.

`make probe` puts this program and the contract's golden check together into the one file that ConfigMaps hold
(clipmodel_operator/rendering/probe/startup_probe.py.txt): a pod has no package of ours.
"""
