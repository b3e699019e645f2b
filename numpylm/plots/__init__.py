"""How figures look, and every figure that a command draws."""
