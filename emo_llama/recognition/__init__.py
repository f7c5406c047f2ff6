"""Recognition: from a picture or clip to faces, label probabilities and answers."""
