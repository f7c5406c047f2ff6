"""A model from scratch: its face network, vision tower and tokenizer, and how they become one."""
