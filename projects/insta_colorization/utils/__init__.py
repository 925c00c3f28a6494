"""What every room may use: errors, command lines, configs, devices, threads."""
