"""The startup probe of Triton pods: asks the Triton beside it what it has loaded, and whether it embeds as that was proven.

`make probe` puts this program and what it needs of the contract together into the one file that ConfigMaps hold
(clipmodel_operator/rendering/probe/startup_probe.py.txt): a pod has no package of ours.
"""
