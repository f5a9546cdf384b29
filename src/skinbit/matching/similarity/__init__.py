"""What makes two photographs alike: whitening, hubness, re-ranking, calibration."""
