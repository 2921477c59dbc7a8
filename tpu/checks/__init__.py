"""The checks of the doctor: functions from a `Machine` to a `Finding`."""
