"""Published methods that our own comparison puts behind the policies above, kept so that anybody can compare."""
