"""Operations, layers and losses that networks are made of."""
