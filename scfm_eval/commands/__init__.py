"""The commands of ``scfm-eval``, one module each: ``add_to`` declares it, ``_act`` does it."""
