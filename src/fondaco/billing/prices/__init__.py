"""What things cost: pure functions of a model's facts and of what was used, or at most can be.

The same function prices a request before and after: before with bounds, after with what was really used. Each gives a
bill, whose lines are rounded half-even one by one. A price that is not known is an error, never zero.
"""
