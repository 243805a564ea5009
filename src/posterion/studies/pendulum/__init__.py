"""The study ``pendulum``: gravity from periods, with its two kinds of uncertainty."""
