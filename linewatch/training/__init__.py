"""Train, evaluate and recalibrate models. Only training and evaluation need the extra [train]."""
