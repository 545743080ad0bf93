"""What is done with a project file as a file: rename it, move it to the trash and back, show it in the file manager."""
