"""Reading and checking metadata and photographs, splitting lesions into subsets and folds; synthetic photographs."""
