"""What each paper claims, judged on our figures: one module per paper, never Keras."""
