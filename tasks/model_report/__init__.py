"""The report on a trained model: would I ship it?"""
