"""Stress targets of exact truth: separated modes, rings, funnels, walls, circles, an offset."""
