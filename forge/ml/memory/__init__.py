"""The memory kit: what makes a model train in less memory or time, each part alone or with the others."""
