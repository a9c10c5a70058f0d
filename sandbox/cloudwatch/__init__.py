"""The sandbox's CloudWatch: moto stores metrics and alarms, and the sandbox evaluates the alarms."""
