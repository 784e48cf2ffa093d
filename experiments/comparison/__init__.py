"""The comparison of methods on Moving Shapes, in the order it happens: cells, measurement, report."""
