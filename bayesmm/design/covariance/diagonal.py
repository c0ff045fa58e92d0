"""Independent effects, ``(x || g)`` or ``diag(x | g)``: an sd for each column, each a group term of its own."""

from dataclasses import replace

from bayesmm.design.covariance import unstructured

covariance = replace(unstructured.covariance, name="diag", words="independent", apart=True)
