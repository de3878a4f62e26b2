"""Stages: plain functions from values to one value, one module a stage. They open no folder and print nothing."""
