"""How good a model is: the loss of text it has not learned from, and the tasks of lm-eval."""
