"""Networks: model interface, registry, DM-GAN, and the blocks that several models use."""
