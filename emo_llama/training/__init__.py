"""Training: the encoders of a from-scratch model, then instruction tuning by TRL's SFTTrainer."""
