"""What a gateway costs: fondaco, nginx and vllm-router in front of one fast mock upstream."""
