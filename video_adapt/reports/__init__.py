"""What is made from runs and about the code: reports, pictures, measurements, demonstrations."""
