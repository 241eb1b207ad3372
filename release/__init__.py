"""What is made of the project to be given away: `make bundle`, `make packages`."""
