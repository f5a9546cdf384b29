"""A second implementation of what Skinbit measures: by brute force, and without a line of the rest of Skinbit.

It is written to be read beside `docs/protocol.md`, like the methods of a paper: one module for each step, loops over
pairs, and matrices of all similarities. It imports nothing of Skinbit, so a figure is wrong in both only if both make
the same mistake. Tests compare both on random studies; `kedro verify` recomputes a finished study (`study`,
`experiment`, `new_photographs`).

What it computes:

- `splits`: the fold of each lesion, if neither strata nor bundles are asked for; otherwise that lesions are in one fold
    only, and that no part is empty.
- `similarity`: cosines, zoom pairs, local scaling, and fusion with keypoints by given coefficients.
- `metrics`: F1, precision and recall of pairs at a cut; the curve and the best cut of a threshold; ROC AUC, average
    precision, recall@k and mean average precision; BCubed F1, ARI, AMI and the error of the number of groups.
- `groups`: groups of DBSCAN, average and complete linkage and mutual nearest neighbours, with a largest size, known
    lesions and answers about pairs; their curves and best cuts.
- `cuts`: the mean of the folds' cuts, the cut for a pool of another size and share of singletons, the pool's own cut
    and the F1 that it expects, by given odds.
- `intervals`: F1 for resampled lesions and its interval, for given draws; F1 over the pairs of all folds.

What `kedro verify` compares:

- `leaderboard.csv`: ranks, and all columns of numbers.
- `results.csv` of experiments, folds and final models, and `judgement.csv`: all rows but `best_epoch`.
- `clustered_images.csv`: the groups of every fold, and those of new photographs by a model of the study, at their cut.
- `sweep.csv`, `operating_points.json`, `averages.json`, `resampled_f1.csv`, and the operating points of
    `matching.json`: all figures. Rows of thresholds far below the best one, which are thinned, are compared as far as
    they are stored.
- `split.csv`, and whether embeddings are of the images that it has in a fold.

What is taken as it is: embeddings, keypoints and the pairs whose keypoints were compared; the coefficients of
calibrations (`calibration.json`) and odds (`odds.json`); the answers of a ledger; the cut of new photographs. What is
not recomputed: experiments with re-ranking or columns of the metadata, F1 by stratum (`strata.csv`) and by size of the
pool (`pools.csv`), reliability, mistakes, certificates, expected metrics of new photographs, the audit, and pages.
"""
