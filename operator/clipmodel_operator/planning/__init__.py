"""What should be, decided from what is: pure functions. The controller and the command line ask the same ones."""
