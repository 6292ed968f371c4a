# Debian's own Python, as the base of the product's image where no registry can be reached. base.tar is mmdebstrap's.
FROM scratch
ADD base.tar /
CMD ["python3"]
