"""Networks: the contract, the registry, DM-GAN and the blocks that papers share."""
