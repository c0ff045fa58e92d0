"""What families and links are called in compiled code.

All compiled code is made anew when this file changes, and when no other file of this folder does.
"""

GAUSSIAN, STUDENT, POISSON, NEGBINOMIAL, BERNOULLI, BINOMIAL, GAMMA, BETA = range(8)
IDENTITY, LOG, LOGIT, PROBIT, CLOGLOG, INVERSE = range(6)
