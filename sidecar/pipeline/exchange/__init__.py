"""How the models that serve are exchanged for versions of the registry, while requests go on."""
