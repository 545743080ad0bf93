"""Operations on runs: train, branch, densify, recover, compare, copy, …"""
