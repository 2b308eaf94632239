"""The ROADEF/EURO 2012 machine reassignment problem: a yardstick for searches, with published answers beside it.

The challenge's own files in and out, its own rules and cost. Nothing here knows of nodes or containers.
"""
