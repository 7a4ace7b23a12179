"""Random changes of whole batches of training images, on the device that the images live on."""
